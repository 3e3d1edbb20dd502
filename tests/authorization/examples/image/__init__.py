"""What the matrix asks of the image service: main.py first, then the other areas."""
