"""The Compute API: one file per URL noun, each with its schemas, views, handlers and routes."""
