"""The transactional outbox, without a database library: what a row holds, and the relay that submits rows.

`distq.contrib.django.outbox` and `distq.contrib.sqlalchemy` keep the rows in the tables of a program.
"""
