"""Prints the sizes of the chunks that stock Borg cuts the file into, one line for each setting."""

from io import BytesIO

from borg.chunker import get_chunker

with open(sys.argv[1], "rb") as file:
    content = file.read()
for line in sys.argv[2:]:
    seed, params, length = line.split(" ")
    # A key holds its seed as a signed number.
    seed = (int(seed) + 2**31) % 2**32 - 2**31
    chunker = get_chunker(*ChunkerParams(params), seed=seed, sparse=False)
    print(*(chunk.meta["size"] for chunk in chunker.chunkify(BytesIO(content[:int(length)]))))
