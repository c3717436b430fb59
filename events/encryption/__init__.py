"""The data keys of projects in the database, the keys outside of it that wrap them, and attachments encrypted
with them."""
