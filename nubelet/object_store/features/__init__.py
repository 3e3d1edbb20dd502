"""What lies between the request and the objects: one feature of the API per file."""
