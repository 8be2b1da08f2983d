"""Progress bars of `client.map(..., progress=True)` and `distq.progress(futures)`."""
