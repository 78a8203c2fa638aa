from serving import Scripted, served
from tunesmith.infer.batching import Batching
from tunesmith.serve.served import Engine


def test_the_engine_has_all_that_the_routes_call():
    wanted = {name for name in vars(Engine) if not name.startswith("_")}
    assert wanted <= set(dir(Batching))
    assert wanted <= set(dir(Scripted))
    assert served(Scripted("a")).embed is None
