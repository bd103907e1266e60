"""The page of `molchord open`: one object behind REST and HTML, a worker for the model, and what keeps others out.

`models` says what is answered, `desk` does it, `jobs` queues what needs the model, `api` is REST, `views` is HTML,
`security` refuses what does not come from the page itself, and `app` puts them together.
"""
