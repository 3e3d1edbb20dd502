"""OAuth 1.0a: consumers act with some roles of a user who authorized them."""
