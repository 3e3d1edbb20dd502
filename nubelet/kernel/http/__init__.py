"""HTTP for all services: routes, versions, validation, dialects, lists. Begin with app.py."""
