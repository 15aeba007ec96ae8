"""The vendors' wire: request bodies in, response bodies, events, headers and errors out.

``chat``, ``responses``, ``messages``, ``generate``, ``converse``, ``embeddings`` and ``embed_content`` own one body
format each, ``eventstream`` the binary events of one of them; ``openai``, ``azure``, ``anthropic``, ``gemini``,
``bedrock``, ``groq`` and ``mistral`` own what differs by vendor: where the key stands, what counts against which
quota, headers and errors. All of it is pure: no clock, no state, no server.
"""
