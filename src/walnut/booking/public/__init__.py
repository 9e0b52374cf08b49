"""The public booking page, at /book/RESOURCE: off unless an operator names resources in walnut.toml."""
