"""Routes of metadata definitions, one module for each noun of the URL."""
