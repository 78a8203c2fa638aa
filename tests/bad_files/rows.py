"""Bad rows of JSON: each stands between two good ones.

name: (the row, the reason it is skipped for, its field or its column, words of the error)
"""

import json


def row(**columns):
    return json.dumps({"instruction": "I", "output": "O", **columns})


def talk(*said, **columns):
    return json.dumps({"conversations": [{"from": r, "value": v} for r, v in said], **columns})


def chat(*messages, **columns):
    return json.dumps({"messages": list(messages), **columns})


def asks(**keys):
    return {"role": "user", "content": "a", **keys}


def says(**keys):
    return {"role": "assistant", "content": "b", **keys}


def calls(*found, **keys):
    return {"role": "assistant", "content": None, "tool_calls": list(found), **keys}


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
DEEP = '{"instruction": "I", "output": "O", "x": ' + "[" * 70 + "]" * 70 + "}"
GOOD = {"alpaca": row(), "sharegpt": talk(("human", "a"), ("gpt", "b")),
        "openai": chat(asks(), says())}  # fmt: skip
SYNTAX = {
    "null": ("null", "not an object", "", "an object with the columns"),
    "number": ("1", "not an object", "", "an object with the columns"),
    "text": ('"a"', "not an object", "", "an object with the columns"),
    "array": ('["I", "O"]', "not an object", "", "an object with the columns"),
    "no row": ("{}", "missing column", " instruction", "only nothing"),
    "key twice": ('{"instruction": "I", "output": "O", "output": "P"}', "duplicate key", 37, "out"),
    "key twice, spelled": ('{"output": "O", "outp\\u0075t": "P"}', "duplicate key", 17, "output"),
    "key twice within": ('{"output": "O", "x": {"a": 1, "a": 1}}', "duplicate key", 31, "each key"),
    "nan": ('{"instruction": "I", "output": NaN}', "NaN or Infinity", 32, "a finite number"),
    "nan in another column": (row()[:-1] + ', "x": NaN}', "NaN or Infinity", 42, "NaN"),
    "infinity": (row()[:-1] + ', "x": [Infinity]}', "NaN or Infinity", 43, "Infinity"),
    "minus infinity": (row()[:-1] + ', "x": -Infinity}', "NaN or Infinity", 42, "-Infinity"),
    "digits": ('{"output": "O", "x": ' + "7" * 5000 + "}", "number too large", 22, "5000 digits"),
    "minus digits": ('{"x": -' + "7" * 4300 + "}", "number too large", 7, "4301 digits"),
    "high surrogate": ('{"instruction": "\\ud83d", "output": "O"}', "lone surrogate", 18, "pair"),
    "low surrogate": ('{"instruction": "a\\uDE00"}', "lone surrogate", 19, "a pair"),
    "surrogates swapped": ('{"x": "\\ude00\\ud83d"}', "lone surrogate", 8, "a pair"),
    "surrogate in a key": ('{"\\ud83d": 1}', "lone surrogate", 3, "a pair"),
    "surrogate, then a letter": ('{"x": "\\ud83dx"}', "lone surrogate", 8, "a pair"),
    "deep lists": (DEEP, "nested too deep", 105, "at most 64 levels"),
    "one level too deep": ("[" * 65 + "]" * 65, "nested too deep", 65, "level 65"),
}
BROKEN = {  # a row that breaks in the middle: another line begins anew, an array does not go on
    "nul": ('{"instruction": "\0", "output": "O"}', 18, "control character"),
    "tab": ('{"instruction": "\t", "output": "O"}', 18, "control character"),
    "escape character": ('{"instruction": "\x1b[31m", "output": "O"}', 18, "control character"),
    "unknown escape": ('{"instruction": "\\x41", "output": "O"}', 18, "known escape"),
    "short escape": ('{"instruction": "\\u12", "output": "O"}', 18, "known escape"),
    "apostrophes": ("{'instruction': 'I', 'output': 'O'}", 2, "a key in double quotes"),
    "bare key": ('{instruction: "I", output: "O"}', 2, "a key in double quotes"),
    "number as key": ('{1: "I"}', 2, "a key in double quotes"),
    "no colon": ('{"instruction" "I"}', 16, "a colon"),
    "equals": ('{"instruction" = "I"}', 16, "a colon"),
    "no comma": ('{"instruction": "I" "output": "O"}', 21, "a comma"),
    "semicolon": ('{"instruction": "I"; "output": "O"}', 20, "a comma"),
    "comma at the end": ('{"instruction": "I",}', 21, "a key in double quotes"),
    "comma first": ('{, "instruction": "I"}', 2, "a key in double quotes"),
    "two commas": ('{"instruction": "I",, "output": "O"}', 21, "a key in double quotes"),
    "comment": ('{"instruction": "I" /* one */}', 21, "a comma"),
    "None": ('{"instruction": None}', 17, "a JSON value"),
    "True": ('{"instruction": "I", "x": True}', 27, "a JSON value"),
    "undefined": ('{"instruction": undefined}', 17, "a JSON value"),
    "nan in small letters": ('{"x": nan}', 7, "a JSON value"),
    "plus": ('{"x": +1}', 7, "a JSON value"),
    "zero first": ('{"x": 01}', 8, "a comma"),
    "point first": ('{"x": .5}', 7, "a JSON value"),
    "point last": ('{"x": 5.}', 8, "a comma"),
    "hexadecimal": ('{"x": 0x1F}', 8, "a comma"),
    "underscore": ('{"x": 1_000}', 8, "a comma"),
    "half an exponent": ('{"x": 1e}', 8, "a comma"),
    "wide quotes": ("{“instruction”: “I”}", 2, "a key in double quotes"),
    "wide colon": ('{"instruction"： "I"}', 15, "a colon"),
    "space of no break": ('{"instruction":\u00a0"I"}', 16, "a JSON value"),
    "zero width space": ('\u200b{"instruction": "I"}', 1, "a JSON value"),
    "mark inside": ('{\ufeff"instruction": "I"}', 2, "a key in double quotes"),
    "wrong bracket": ('{"x": [1}', 9, "a comma or ']'"),
    "wrong brace": ('{"x": {"y": 1]}', 14, "a comma or '}'"),
    "bracket too many": ('{"x": 1}]', 9, "the end of the line"),
    "two rows": (row() + row(), 36, "the end of the line"),
    "comma after the row": (row() + ",", 36, "the end of the line"),
}
ALPACA = {
    "no output": ('{"instruction": "I"}', "missing column", " output", "only instruction"),
    "no instruction": ('{"output": "O"}', "missing column", " instruction", "only output"),
    "misspelt": ('{"instruction": "I", "ouput": "O"}', "missing column", " output", "'ouput'"),
    "upper case": ('{"Instruction": "I", "Output": "O"}', "missing column", " instruction", "only"),
    "space in a name": ('{"instruction": "I", "output ": "O"}', "missing column", " output", "only"),
    "newline in a name": ('{"instruction": "I", "a\\nb": "O"}', "missing column", " output", "only"),
    "chat": (talk(("human", "a")), "missing column", " instruction", '"messages": "conversations"'),
    "openai chat": (chat(asks(), says()), "missing column", " instruction", '"role_tag": "role"'),
    "output null": (row(output=None), "null instead of text", " output", "null"),
    "output number": (row(output=12), "wrong type", " output", "12"),
    "output zero": (row(output=0), "wrong type", " output", "0"),
    "output 1.50": ('{"instruction": "I", "output": 1.50}', "wrong type", " output", "1.50"),
    "output true": (row(output=True), "wrong type", " output", "True"),
    "output list": (row(output=["O"]), "wrong type", " output", "['O']"),
    "output object": (row(output={"text": "O"}), "wrong type", " output", "{'text': 'O'}"),
    "output empty": (row(output=""), "empty answer", " output", "an answer to learn"),
    "output spaces": (row(output=" \t\n\u3000"), "empty answer", " output", "an answer to learn"),
    "instruction list": (row(instruction=["I"]), "wrong type", " instruction", "text in quotes"),
    "instruction number": (row(instruction=7), "wrong type", " instruction", "7"),
    "instruction false": (row(instruction=False), "wrong type", " instruction", "False"),
    "input number": (row(input=3.5), "wrong type", " input", "3.5"),
    "input huge": ('{"instruction": "I", "output": "O", "input": 1e400}', "wrong type", " input", "1e400"),
    "input object": (row(input={}), "wrong type", " input", "{}"),
    "system number": (row(system=1), "wrong type", " system", "1"),
    "system list": (row(system=["s"]), "wrong type", " system", "['s']"),
    "history text": (row(history="a"), "wrong type", " history", "JSON text of one"),
    "history number": (row(history=5), "wrong type", " history", "a list"),
    "history object": (row(history={"a": "b"}), "wrong type", " history", "a list"),
    "history flat": (row(history=["a", "b"]), "wrong type", " history[0]", "a pair"),
    "history of one": (row(history=[["a"]]), "wrong type", " history[0]", "a pair"),
    "history of three": (row(history=[["a", "b", "c"]]), "wrong type", " history[0]", "a pair"),
    "history null": (row(history=[["a", "b"], None]), "wrong type", " history[1]", "a pair"),
    "history of null": (row(history=[["a", None]]), "null instead of text", " history[0][1]", "null"),
    "history of numbers": (row(history=[[1, 2]]), "wrong type", " history[0][0]", "1"),
    "history unanswered": (row(history=[["a", ""]]), "empty answer", " history[0][1]", "answer"),
    "history of objects": (row(history=[{"q": "a"}]), "wrong type", " history[0]", "a pair"),
    "history printed": (row(history="[['a', 'b']]"), "wrong type", " history", "how Python prints"),
    "history cut": (row(history='[["a", "b"]'), "wrong type", " history", "JSON text of one"),
    "tools number": (row(tools=3), "wrong type", " tools", "text in quotes"),
    "tools text": (row(tools="f"), "tools that cannot be read", " tools", "a JSON list"),
    "tools printed": (row(tools="[{'name': 'f'}]"), "tools that cannot be read", " tools", "Python"),
    "tools cut": (row(tools='[{"name": "f"'), "tools that cannot be read", " tools", "a JSON list"),
    "tools nameless": (row(tools=[{}]), "tools that cannot be read", " tools[0]", '"name"'),
    "tools named 1": (row(tools=[{"name": 1}]), "tools that cannot be read", " tools[0]", '"name"'),
    "tools of text": (row(tools=["f"]), "tools that cannot be read", " tools[0]", "an object"),
    "tools of null": (row(tools=[None]), "tools that cannot be read", " tools[0]", "an object"),
    "tool alone": (row(tools={"name": "f"}), "tools that cannot be read", " tools", "a JSON list"),
    "tools, key twice": (row(tools='[{"name": "f", "name": "g"}]'), "tools that cannot be read", " tools", "duplicate key"),
    "tools, NaN": (row(tools='[{"name": "f", "x": NaN}]'), "tools that cannot be read", " tools", "NaN"),
    "tools, surrogate": (row(tools='[{"name": "\\ud83d"}]'), "tools that cannot be read", " tools", "surrogate"),
    "tools, two": (row(tools='[{"name": "f"}] []'), "tools that cannot be read", " tools", "more than one"),
    "tools, deep": (row(tools="[" * 70 + "]" * 70), "tools that cannot be read", " tools", "too deep"),
    "tools, parameters": (row(tools=[{"name": "f", "parameters": []}]), "tools that cannot be read", " tools[0].parameters", "an object"),
    "tools, required": (row(tools=[{"name": "f", "parameters": {"required": "x"}}]), "tools that cannot be read", " tools[0].parameters.required", "a list"),
    "tools, properties": (row(tools=[{"type": "function", "function": {"name": "f", "parameters": {"properties": []}}}]), "tools that cannot be read", " tools[0].parameters.properties", "an object"),
}  # fmt: skip
