"""A soak in real time: a gateway in its own process, a scripted model, clients over sockets, judged from outside."""
