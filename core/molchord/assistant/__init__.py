"""What an assistant may ask: tools over a run and its candidates, by the Model Context Protocol (`molchord mcp`).

`server` declares the tools, `lab` does what they ask, `comparing` holds molecules against each other, `telling` turns
what was found into `answers`, `kept` is what was loaded and found before, and `roots` is where files may be.
"""
