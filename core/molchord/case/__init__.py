"""A case: samples, what is known of them and what was found, as a folder that reproduces it.

`record` says what ``case.json`` holds, `case` opens a folder and changes it, `answering` searches for a sample of it.
Only the last one needs a model, and imports torch.
"""
