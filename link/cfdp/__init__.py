"""The CCSDS File Delivery Protocol (CCSDS 727.0-B-5): files over links that lose, class 1 and class 2, without I/O."""
