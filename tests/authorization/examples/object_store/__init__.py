"""What the matrix asks of the object store service: main.py first, then the other areas."""
