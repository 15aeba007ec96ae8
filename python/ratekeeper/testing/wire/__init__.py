"""The vendors' wire: request bodies in, response bodies, events, headers and errors out.

``chat``, ``responses``, ``messages`` and ``embeddings`` own one body format each; ``openai``, ``azure`` and
``anthropic`` own what differs by vendor: where the key stands, what counts against which quota, headers and
errors. All of it is pure: no clock, no state, no server.
"""
