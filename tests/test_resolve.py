"""Loading an LM: what is passed for access to a repository reaches all that is fetched from it."""

from pref_lstm.modeling import resolve
from tiny import make_lm, make_tokenizer

from pref_lstm import load_language_model


def test_access_reaches_the_tokenizer_too(tmp_path, monkeypatch):
    make_lm().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    seen = {}
    for loader in (resolve.AutoTokenizer, resolve.AutoModelForCausalLM):

        def watch(*args, _load=loader.from_pretrained, _name=loader.__name__, **kwargs):
            seen[_name] = kwargs
            return _load(*args, **kwargs)

        monkeypatch.setattr(loader, "from_pretrained", watch)
    access = {"token": "secret", "cache_dir": str(tmp_path / "cache"), "local_files_only": True}
    load_language_model(str(tmp_path), **access)
    assert {name: {key: kwargs[key] for key in access} for name, kwargs in seen.items()} == {
        "AutoTokenizer": access, "AutoModelForCausalLM": access,
    }  # fmt: skip
