"""Long arrays a block at a time: what is made of a block stays in the processor's cache, and takes little memory."""

# Numbers in a block. Of so few, products with some ten modes are left to one thread: none waits for another.
FEW = 50_000
# Of products that several threads share: in time, what they wait for each other counts little, most of all on a machine
# that does other work too.
MANY = 1_000_000


def blocks(array, numbers=FEW):
    """Yields slices along the first axis of an array, together all of it; no values, no slices."""
    if array.size:
        rows = max(1, numbers * len(array) // array.size)
        for start in range(0, len(array), rows):
            yield slice(start, start + rows)
