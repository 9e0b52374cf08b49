"""What pages are made of. Each part is a function, or a small class where it changes later.

What must stay true: data goes into a page as text, escaped where it becomes HTML, whatever it holds.
"""
