"""One answer per sample: files are grouped into samples, searched in batches, and the answers kept and shown.

`samples` groups, `reading` finds out what a file is, `batch` searches, `journal` keeps what is done, `outputs` and
`report` write it down.
"""
