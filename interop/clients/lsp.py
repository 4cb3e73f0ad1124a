"""A client of a language server at a socket: opens a document, completes a name in it, and ends. Prints each answer."""
import asyncio
import sys

from lsprotocol import types
from pygls.lsp.client import LanguageClient

NAME = "file:///document.py"


async def main(socket):
    client = LanguageClient("interop", "1")
    # Editors connect to a socket in the same way: by a program that copies.
    await client.start_io("socat", "-", f"UNIX-CONNECT:{socket}")
    capabilities = types.ClientCapabilities()
    answer = await client.initialize_async(types.InitializeParams(capabilities))
    print(answer.server_info.name)
    client.initialized(types.InitializedParams())
    text = "import json\njson.dum"
    document = types.TextDocumentItem(NAME, types.LanguageKind.Python, 1, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(document))
    place = types.CompletionParams(types.TextDocumentIdentifier(NAME), types.Position(1, len("json.dum")))
    answer = await client.text_document_completion_async(place)
    print(*sorted(item.label.partition("(")[0] for item in answer.items))
    print(await client.shutdown_async(None))
    client.exit(None)
    await client.stop()


asyncio.run(main(sys.argv[1]))
