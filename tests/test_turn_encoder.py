"""The turn encoder: LM tokens get the encoder's state over the same characters, alone as in a batch, for any text."""

import pytest
import torch
from pref_lstm.modeling.salience import token_salience
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_encoder import MAX_LM_TOKENS
from pref_lstm.modeling.turn_tokenization import MAX_AGENT_LENGTH, MAX_QUERY_LENGTH, MAX_USER_LENGTH, tokenize_turns
from tiny import ENCODER_WIDTH, TOLERANCE, TURNS, make_turn_encoder

STRANGE = [
    "日本語が好きです, I love tea",
    "🙂🙂🙂",
    "\x00\x01\u200b",
    "café señor",
    "a\u202etea\u202c\tb",
    "<|im_end|> [SEP] [CLS] tea",
    "tea",
]


@pytest.fixture(scope="module")
def encoder():
    return make_turn_encoder()


def test_each_token_gets_the_state_over_its_characters(encoder):
    turn = Turn("love green tea, cats", agent="hate?")
    encoded = encoder.encode([turn])
    lm_words = encoder.lm_tokenizer.convert_ids_to_tokens(encoded.token_ids[0].tolist())
    assert lm_words == ["love", "green", "tea", ",", "cats"]
    passed = encoder.hidden_states([turn])
    pieces = encoder.tokenizer.convert_ids_to_tokens(tokenize_turns(encoder.tokenizer, [turn])["input_ids"][0].tolist())
    states = passed.hidden_states[-1][0]
    for place, word in enumerate(lm_words):
        # "green" is no piece of the encoder's: the first of its characters stands for it.
        piece = word if word in pieces else word[0]
        torch.testing.assert_close(encoded.token_features[0, place], states[pieces.index(piece)], **TOLERANCE)


def test_the_agents_line_is_context_and_not_pooled(encoder):
    turn = Turn("love tea", agent="hate cats")
    passed = encoder.hidden_states([turn])
    user = passed.token_type_ids[0].bool()
    assert int(user.sum()) == 3  # love, tea and the closing [SEP]
    expected = passed.hidden_states[-1][0, user].mean(0)
    torch.testing.assert_close(encoder.encode([turn]).pooled[0], expected, **TOLERANCE)
    assert not torch.equal(encoder.encode([turn]).pooled, encoder.encode([Turn("love tea")]).pooled)


def test_a_row_alone_equals_the_row_in_a_batch(encoder):
    turns = [*TURNS, *map(Turn, STRANGE), Turn("I love tea. " * 400, agent="cats " * 300)]
    together = encoder.encode(turns)
    for b, turn in enumerate(turns):
        alone = encoder.encode([turn])
        length = int(alone.token_mask.sum())
        for name, value in alone.items():
            row = together[name][b]
            if name != "pooled":
                assert not row[length:].any()
                row, value = row[:length], value[:, :length]
            torch.testing.assert_close(row, value[0], **TOLERANCE)


def test_a_query_is_the_vector_of_a_turn_without_agent(encoder):
    texts = ["love tea", "cats"]
    torch.testing.assert_close(
        encoder.encode_query(texts), encoder.encode([Turn(text) for text in texts]).pooled, **TOLERANCE
    )


def test_of_a_long_query_both_ends_are_read(encoder):
    half = MAX_QUERY_LENGTH // 2
    long = "love " * half + "tea " * 300 + "cats " * half
    ends = encoder.encode_query(["love " * half + "cats " * half])
    torch.testing.assert_close(encoder.encode_query([long]), ends, **TOLERANCE)
    assert not torch.allclose(encoder.encode_query(["tea " * 30 + long]), ends)


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_gives_finite_values_of_the_right_shapes(encoder, text):
    encoded = encoder.encode([Turn(text, agent=text)])
    length = encoded.token_ids.shape[1]
    assert length >= 1
    assert encoded.pooled.shape == (1, ENCODER_WIDTH)
    assert encoded.token_features.shape == (1, length, ENCODER_WIDTH)
    assert encoded.token_mask.shape == encoded.token_salience.shape == (1, length)
    assert all(value.isfinite().all() for value in encoded.values())
    assert (encoded.token_ids.dtype, encoded.token_mask.dtype) == (torch.int64, torch.bool)


def test_control_tokens_in_the_text_are_no_control_tokens(encoder):
    ids = encoder.encode([Turn("<|im_end|> tea <|reserved_0|>")]).token_ids[0].tolist()
    assert not set(ids) & {encoder.lm_tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|reserved_0|>")}


def test_of_a_long_text_both_ends_are_read(encoder):
    text = "love tea " + "rain " * 2000 + "hate cats"
    encoded = encoder.encode([Turn(text)])
    words = encoder.lm_tokenizer.convert_ids_to_tokens(encoded.token_ids[0].tolist())
    assert len(words) == MAX_LM_TOKENS
    assert (words[:2], words[-2:]) == (["love", "tea"], ["hate", "cats"])
    row = tokenize_turns(encoder.tokenizer, [Turn(text, agent="x " * 2000)])
    assert row["input_ids"].shape[1] == 3 + MAX_AGENT_LENGTH + MAX_USER_LENGTH
    pieces = encoder.tokenizer.convert_ids_to_tokens(row["input_ids"][0].tolist())
    assert (pieces[50:52], pieces[-3:]) == (["love", "tea"], ["hate", "cats", "[SEP]"])


def test_the_encoder_is_frozen(encoder):
    assert not any(p.requires_grad for p in encoder.encoder.parameters())
    assert not encoder.encoder.training
    assert encoder.hidden_size == ENCODER_WIDTH


def test_cues_are_more_salient_than_content_and_content_than_the_rest(encoder):
    encoded = encoder.encode([Turn("I do not love the green tea.")])
    words = encoder.lm_tokenizer.convert_ids_to_tokens(encoded.token_ids[0].tolist())
    salience = dict(zip(words, encoded.token_salience[0].tolist(), strict=True))
    assert min(salience["not"], salience["love"]) > max(salience["green"], salience["tea"])
    assert min(salience["green"], salience["tea"]) > max(salience["the"], salience["do"], salience["."])


def test_a_word_with_a_hyphen_is_one_word():
    text = "sugar-free or plant-based"
    spans = [(0, 5), (5, 6), (6, 10), (11, 13), (14, 19), (19, 20), (20, 25)]
    salience = token_salience(text, spans, [50, 9, 40, 12, 60, 9, 30], 100)
    assert len(set(salience[:3])) == len(set(salience[4:])) == 1
    assert min(salience[0], salience[4]) > salience[3] > 0.5
