"""Bad csv, tsv and txt: rows that are skipped, and files that are refused.

ROWS: name of the file: (content, reason, place, words of the error, rows used beside it)
FILES: name of the file: (content, place, words of the error)
"""

HEAD = "instruction,output\n"
TAB = "instruction\toutput\n"
CHAT = "conversations,tools\n"
SAID = '"[{""from"": ""human"", ""value"": ""a""}, {""from"": ""gpt"", ""value"": ""b""}]"'
ROWS = {
    "short.csv": (HEAD + "I,O\nI\nI,O", "ragged row", ":3", "1 fields", 2),
    "long.csv": (HEAD + "I,O\nI,O,P\nI,O", "ragged row", ":3", "3 fields", 2),
    "comma_at_end.csv": (HEAD + "I,O,\nI,O", "ragged row", ":2", "2 fields, as the header has", 1),
    "bare_comma.csv": (HEAD + "I, too,O\nI,O", "ragged row", ":2", "3 fields", 1),
    "short.tsv": (TAB + "I\nI\tO", "ragged row", ":2", "1 fields", 1),
    "spaces.tsv": (TAB + "I    O\nI\tO", "ragged row", ":2", "1 fields", 1),
    "commas.tsv": (TAB + "I,O\nI\tO", "ragged row", ":2", "1 fields", 1),
    "quote_inside.csv": (HEAD + 'a "b" c,O\nI,O', "broken quotes", ":2:3", "is doubled", 1),
    "quote_after.csv": (HEAD + '"a"b,O\nI,O', "broken quotes", ":2:4", "a comma or the end", 1),
    "quote_escaped.csv": (HEAD + '"a\\"b",O\nI,O', "broken quotes", ":2:5", "is doubled", 1),
    "quote_and_space.csv": (HEAD + '"a" ,O\nI,O', "broken quotes", ":2:4", "closing quote", 1),
    "space_and_quote.csv": (HEAD + ' "a",O\nI,O', "broken quotes", ":2:2", "the whole field", 1),
    "quote_after.tsv": (TAB + '"a"b\tO\nI\tO', "broken quotes", ":2:4", "a tab or the end", 1),
    "nul.csv": (HEAD + "I,\0\nI,O", "NUL character", ":2:3", "text without NUL", 1),
    "nul_quoted.csv": (HEAD + '"a\n\0",O\nI,O', "NUL character", ":3:1", "text without NUL", 1),
    "nul.tsv": (TAB + "\0\tO\nI\tO", "NUL character", ":2:1", "text without NUL", 1),
    "return.csv": (HEAD + "a\rb,O\nI,O", "lone carriage return", ":2:2", "end with a newline", 1),
    "return.tsv": (TAB + "I\tO\rI\tO\nI\tO", "lone carriage return", ":2:4", "tr '\\r'", 1),
    "empty_answer.csv": (HEAD + "I,\nI,O", "empty answer", ":2: output", "an answer to learn", 1),
    "quoted_empty.csv": (HEAD + 'I,""\nI,O', "empty answer", ":2: output", "an answer", 1),
    "header_again.csv": (HEAD + "I,O\nI,O,instruction,output\n", "ragged row", ":3", "4 fields", 1),
    "late_line.csv": (HEAD + '"a\nb\n\nc",O\nI\n', "ragged row", ":6", "1 fields", 1),
    "printed.csv": (CHAT + f"\"[{{'from': 'human'}}]\",\n{SAID},\n", "wrong type", ":2: conversations", "Python prints", 1),
    "apostrophes.tsv": ("conversations\n[{'from': 'human'}]\n" + SAID, "wrong type", ":2: conversations", "json.dumps", 1),
    "cut_cell.csv": (CHAT + f'"[{{""from"": ""hu",\n{SAID},\n', "wrong type", ":2: conversations", "JSON text of one", 1),
    "null_cell.csv": (CHAT + f"null,\n{SAID},null\n", "no messages", ":2: conversations", "a question", 1),
    "empty_cell.csv": (CHAT + f",\n{SAID},\n", "no messages", ":2: conversations", "a question", 1),
    "object_cell.csv": (CHAT + f'"{{""from"": ""human""}}",\n{SAID},\n', "wrong type", ":2: conversations", "a list", 1),
    "nan_cell.csv": (CHAT + f"nan,\n{SAID},\n", "wrong type", ":2: conversations", "JSON text of one", 1),
    "nan_tools.csv": (CHAT + f"{SAID},nan\n{SAID},\n", "tools that cannot be read", ":2: tools", "a JSON list", 1),
    "printed_tools.csv": (CHAT + f"{SAID},[{{'name': 'f'}}]\n{SAID},\n", "tools that cannot be read", ":2: tools", "Python prints", 1),
    "nul.txt": ("a\n\0\nb", "NUL character", ":2:1", "text without NUL", 2),
    "return.txt": ("a\nb\rc\nd", "lone carriage return", ":2:2", "end with a newline", 2),
}  # fmt: skip
FILES = {
    "empty.csv": ("", "", "an empty file"),
    "empty.tsv": ("\n\n", "", "an empty file"),
    "empty.txt": ("", "", "an empty file"),
    "blank.txt": ("\n \n", "", "no rows"),
    "header.csv": (HEAD, "", "no rows"),
    "header.tsv": (TAB.rstrip(), "", "no rows"),
    "no_name.csv": ("instruction,,output\nI,x,O", ":1", "no name for column 2"),
    "index.csv": (",instruction,output\n0,I,O", ":1", "index=False"),
    "name_twice.csv": ("output,instruction,output\nO,I,O", ":1", "two columns 'output'"),
    "name_spaced.csv": ("instruction, output\nI,O", ":1", "' output'"),
    "semicolons.csv": ("instruction;output\nI;O", ":1", "read_csv('"),
    "tabs.csv": (TAB + "I\tO", ":1", "name the file .tsv"),
    "commas.tsv": (HEAD + "I,O", ":1", "name the file .csv"),
    "bars.csv": ("instruction|output\nI|O", ":1", "one column"),
    "no_header.csv": ("Say it,I say it\n", "", "no rows"),
    "other_header.csv": ("a,b\nI,O\n", ":2: instruction", "only a, b"),
    "open_quote.csv": (HEAD + '"I,O\nI,O\n', ":2:1", "a quote that is never closed"),
    "open_quote_last.csv": (HEAD + 'I,"O', ":2:3", "never closed"),
    "open_quote_header.csv": ('"instruction,output\nI,O', ":1:1", "never closed"),
    "open_quote.tsv": (TAB + '"I\tO\n', ":2:1", "never closed"),
    "broken_header.csv": ('instr"uction,output\nI,O', ":1:6", "is doubled"),
    "nul_header.csv": ("instruction,out\0put\nI,O", ":1:16", "text without NUL"),
    "returns.csv": ("instruction,output\rI,O\r", ":1:19", "tr '\\r'"),
    "json.csv": ('[{"instruction": "I"}]', ":1:3", "is doubled"),
    "html.csv": ("<!DOCTYPE html>\n<html></html>\n", ":2: instruction", "only <!DOCTYPE html>"),
    "excel.csv": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00", ":1:6", "text without NUL"),
    "half.csv": (HEAD.encode("utf-16") + "I,O".encode("utf-16-le")[:-1], ":2: byte 44", "not utf-16-le"),
}  # fmt: skip
