"""The store in a PostgreSQL database; needs psycopg, which the extra `distq[postgresql]` installs."""
