"""RFC 7541: blocks of fields as a decoder must take them.

Invariant: an error in a block is one of the connection, for its table is not known any more.
"""

from cases import on_connection
from peer import *  # noqa: F403

START = b"\x82\x86\x84"  # :method GET, :scheme http, :path /
HOST = literal(1, "localhost")
EOS = "1" * 30
CODE_OF_A = "00011"


def huffman(bits):
    """Bits, filled up with ones to whole bytes, as a string with the Huffman flag."""
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return integer(len(data), 7, 0x80) + data


GOOD = [
    ("6.1", "indexed fields of the static table", START + HOST),
    ("6.2.1", "a literal with indexing, of a known name", START + literal(1, "localhost", INCREMENTAL)),
    ("6.2.1", "a literal with indexing, of a new name", START + HOST + literal("x-test", "1", INCREMENTAL)),
    ("6.1", "an indexed field of the dynamic table", START + HOST + literal("x-test", "1", INCREMENTAL) + b"\xbe"),
    ("6.2.2", "a literal without indexing, of a known name", START + literal(1, "localhost", PLAIN)),
    ("6.2.2", "a literal without indexing, of a new name", START + HOST + literal("x-test", "1", PLAIN)),
    ("6.2.2", "a literal without indexing, of a name of the dynamic table", START + HOST + literal("x-test", "1", INCREMENTAL) + literal(62, "2", PLAIN)),
    ("6.2.3", "a literal never indexed, of a known name", START + literal(1, "localhost", NEVER)),
    ("6.2.3", "a literal never indexed, of a new name", START + HOST + literal("x-test", "1", NEVER)),
    ("6.3", "a change of the table's size in front", integer(100, 5, 0x20) + START + HOST),
    ("6.3", "two changes of the table's size in front", integer(0, 5, 0x20) + integer(4096, 5, 0x20) + START + HOST),
    ("6.3", "the largest size of the table", integer(4096, 5, 0x20) + START + HOST),
    ("5.2", "Huffman code of localhost", START + b"\x01\x86" + bytes.fromhex("a0e41d139d09")),
    ("5.2", "Huffman code of one character", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A)),
    ("5.2", "Huffman code of no character", START + HOST + b"\x00" + text("x-a") + b"\x80"),
    ("5.2", "Huffman code with 7 bits of padding", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A * 5)),
    ("5.1", "an integer with zeros behind it", START + HOST + b"\x00" + text("x-a") + b"\x7f\x80\x80\x00" + b"v" * 127),
    ("4.4", "an entry larger than the table empties it", START + HOST + literal("x-kept", "1", INCREMENTAL) + literal("x-large", "v" * 5000, INCREMENTAL)),
    ("2.3.2", "entries are evicted from the end", START + HOST + b"".join(literal(f"x-{n}", "v" * 200, INCREMENTAL) for n in range(30)) + b"\xbe\xbf"),
]
for _section, _title, _block in GOOD:

    @on_connection(f"7541 {_section}", f"{_title}: understood")
    def _(peer, whole=_block):
        peer.send(headers(1, whole))
        if peer.status(1) != "200":
            raise Wrong("not answered with 200")
        peer.send(headers(3, START + HOST))
        if peer.status(3) != "200":
            raise Wrong("the next request is not answered with 200")


BAD = [
    ("2.3.3", "an indexed field behind both tables", START + HOST + integer(70, 7, 0x80)),
    ("2.3.3", "the first index behind the static table, while the dynamic one is empty", START + HOST + integer(62, 7, 0x80)),
    ("2.3.3", "a literal with a name behind both tables", START + HOST + literal(70, "x", INCREMENTAL)),
    ("2.3.3", "a literal without indexing with a name behind both tables", START + HOST + literal(70, "x", PLAIN)),
    ("2.3.3", "a literal never indexed with a name behind both tables", START + HOST + literal(70, "x", NEVER)),
    ("2.3.3", "an entry that was evicted", START + HOST + literal("x-a", "1", INCREMENTAL) + literal("x-large", "v" * 5000, INCREMENTAL) + b"\xbe"),
    ("4.2", "a change of the table's size at the end of a block", START + HOST + integer(1, 5, 0x20)),
    ("4.2", "a change of the table's size between fields", START + integer(1, 5, 0x20) + HOST),
    ("5.1", "an integer above 2^32", START + HOST + b"\xff" + b"\xff" * 5 + b"\x7f"),
    ("5.1", "an integer above 2^64", START + HOST + b"\xff" + b"\xff" * 10 + b"\x7f"),
    ("5.1", "an integer without an end", START + HOST + b"\xff" + b"\x80" * 100),
    ("5.1", "an integer that ends with the block", START + HOST + b"\xff\x80"),
    ("5.2", "a string longer than the block", START + HOST + b"\x00" + text("x-a") + b"\x7e"),
    ("5.2", "a name longer than the block", START + HOST + b"\x40\x7e"),
    ("5.2", "Huffman code with more than 7 bits of padding", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A + "111" + "1" * 8)),
    ("5.2", "Huffman code with padding of zeros", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A + "000")),
    ("5.2", "Huffman code with padding that is not the end's", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A + "110")),
    ("5.2", "Huffman code with the end's symbol in it", START + HOST + b"\x00" + text("x-a") + huffman(CODE_OF_A + EOS + CODE_OF_A)),
    ("5.2", "Huffman code that is the end's symbol", START + HOST + b"\x00" + text("x-a") + huffman(EOS + "11")),
    ("6.1", "index 0", START + HOST + b"\x80"),
    ("6.3", "a size of the table above that of the settings", integer(4097, 5, 0x20) + START + HOST),
    ("6.3", "a size of the table far above that of the settings", integer(1 << 31, 5, 0x20) + START + HOST),
]
for _section, _title, _block in BAD:

    @on_connection(f"7541 {_section}", f"{_title}: COMPRESSION_ERROR")
    def _(peer, whole=_block):
        peer.send(headers(1, whole))
        peer.connection_error("COMPRESSION_ERROR")


@on_connection("7541 2.2", "the table holds over requests, and in their order")
def _(peer):
    peer.send(headers(1, START + HOST + literal("x-first", "1", INCREMENTAL)))
    peer.status(1)
    # 62 is the path now, 63 the first field.
    peer.send(headers(3, b"\x82\x86" + literal(4, "/absent", INCREMENTAL) + HOST + b"\xbf"))
    if peer.status(3) != "404":
        raise Wrong("the path was not understood")
    peer.send(headers(5, b"\x82\x86\xbe" + HOST))
    if peer.status(5) != "404":
        raise Wrong("the path was not remembered")


@on_connection("7541 4.3", "a table of size 0 and then of 4096 is empty")
def _(peer):
    peer.send(headers(1, START + HOST + literal("x-first", "1", INCREMENTAL)))
    peer.status(1)
    peer.send(headers(3, integer(0, 5, 0x20) + integer(4096, 5, 0x20) + START + HOST + b"\xbe"))
    peer.connection_error("COMPRESSION_ERROR")


@on_connection("7541 4.1", "an entry costs its octets and 32, to the last of 4096")
def _(peer):
    # Two of 2048 bytes fit: 32, a name of 4 and a value of 2012.
    peer.send(headers(1, START + HOST + literal("x-aa", "v" * 2012, INCREMENTAL) + literal("x-bb", "v" * 2012, INCREMENTAL) + b"\xbf"))
    if peer.status(1) != "200":
        raise Wrong("two entries of 2048 bytes do not fit")
    peer.send(headers(3, START + HOST + literal("x-c", "", INCREMENTAL) + b"\xbf\xc0"))
    peer.connection_error("COMPRESSION_ERROR")


@on_connection("7541 3.2", "a name of an entry that its own line evicts is still read")
def _(peer):
    peer.send(headers(1, START + HOST + literal("x-large", "v" * 3000, INCREMENTAL)))
    peer.status(1)
    peer.send(headers(3, START + HOST + literal(62, "w" * 3000, INCREMENTAL) + b"\xbe"))
    if peer.status(3) != "200":
        raise Wrong("not answered")
