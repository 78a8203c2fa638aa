"""Pictures, videos and sounds: from files to the text and the tensors that a model takes.

`families` says which models take media how; `render` writes what stands in their places.
"""
