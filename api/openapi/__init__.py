"""The description of this API, in OpenAPI 3.1: made from the routes, the structs of the answers, and one
entry for each operation."""
