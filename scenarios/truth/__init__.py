"""What is true of a frame: labels, depth and boxes, from data sets in their own layouts and from rendered worlds."""
