# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The response table refuses whatever could let an unwatched robot go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.table import ALLOWED, Reaction, ResponseTable

STATES = ("nominal", "caution", "alarm", "stale")
ROWS = st.fixed_dictionaries({state: st.sampled_from(Reaction) for state in STATES})


def test_by_default_nothing_is_slowed_and_alarm_and_silence_halt():
    table = ResponseTable()
    assert (table.nominal, table.caution) == (Reaction.GO, Reaction.GO)
    assert (table.alarm, table.stale) == (Reaction.HALT, Reaction.HALT)


@given(ROWS)
def test_no_table_lets_commands_pass_at_full_speed_in_an_alarm_or_at_all_while_stale(rows):
    if any(rows[state] not in ALLOWED[state] for state in STATES):
        with pytest.raises(UsageError, match="cannot be"):
            ResponseTable(**rows)
        return
    table = ResponseTable(**rows)
    assert not table.stale.permits
    assert table.alarm not in (Reaction.GO, Reaction.SLOW)


@given(ROWS)
def test_words_make_the_table_that_they_spell(rows):
    words = {state: reaction.value for state, reaction in rows.items()}
    if all(rows[state] in ALLOWED[state] for state in STATES):
        assert ResponseTable.from_names(words) == ResponseTable(**rows)
    else:
        with pytest.raises(UsageError, match="cannot be"):
            ResponseTable.from_names(words)


def test_a_word_that_is_no_reaction_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"STALE cannot be 'continue': choose one of hold, halt"):
        ResponseTable.from_names({"stale": "continue"})
