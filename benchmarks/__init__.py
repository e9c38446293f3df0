"""Speed side by side: every variant in one process, rounds interleaved, ratios of medians.

`make bench` runs all of it, `make bench groups='[steps,attacks]'` some. A file here is a group of rows: it offers
`rows(settings)`, which times its variants and yields what came out.
"""
