"""Who calls, whether they may, and how often: everything between the edge and the routes.

`policy` says which route needs what; `guard` asks `credentials` who calls, and lets the request
through or refuses it. A route that `policy` does not name is refused for everybody.
"""
