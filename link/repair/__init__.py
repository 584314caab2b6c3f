"""What is done about loss: erasure code and retransmission."""
