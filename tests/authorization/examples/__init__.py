"""What the matrix asks of each service.

A service has a folder; in it `main.py`, and a module for each further area of its API. Each has
`things(world)`: makes what the paths name, in one world; `EXAMPLES`: requests that are not made
from the schema alone; and, where users own something, `belongings(maker, user_id)`. A service with
a gateway lists its `ROUTES`, and puts back by `restore(world)` what is not in the database.
"""
