"""Bugs to put in on purpose: changes to the product that break a promise, each with a test that must go red.

`mutate.py` puts them in, one after the other, and says which survive.
"""

from __future__ import annotations

from typing import Final

from tests.faults.mutation import Mutation
from tests.faults.transmitter_mutations import TRANSMITTED

TASKS: Final = "pipeline/kafka/partition_tasks.py"
ENGINE: Final = "pipeline/decisions/engine.py"
CONSUMER: Final = "pipeline/kafka/consumer.py"
WORKERS: Final = "tests/faults/test_workers.py::"
REFUSALS: Final = "tests/faults/test_refusals.py::"
DIES: Final = f"{WORKERS}test_a_worker_dies_and_the_next_one_too"
REFUSED: Final = f"{REFUSALS}test_a_worker_dies_whose_writes_were_refused_and_it_had_committed_nothing_of_it"
STOPPED: Final = f"{WORKERS}test_a_worker_told_to_stop_repeats_nothing"
FOR_A_WHILE: Final = f"{REFUSALS}test_what_is_written_is_refused_for_a_while"
FOR_GOOD: Final = f"{REFUSALS}test_a_worker_ends_when_what_it_writes_is_refused_for_good_and_the_next_goes_on"
DRAGS: Final = (
    "tests/faults/test_brokers.py::test_a_worker_dies_just_after_a_commit_while_work_waits_for_what_it_writes"
)
POISON: Final = "tests/faults/test_poison.py::test_one_record_in_a_hundred_cannot_be_read"
ODD: Final = (
    "tests/faults/test_poison.py::"
    "test_a_large_record_one_without_value_or_key_and_one_of_any_time_or_header_stop_nothing"
)

GUESSES: Final = "tests/attacks/test_guessed_sessions.py::"


LOST: Final = (
    Mutation(
        "chunks are acknowledged before their rows are written",
        TASKS,
        """\
        if rows := item.rows:
            await self.changelog.write(rows)
        for _, delivery in item.deliveries:
            delivery.ack()
""",
        """\
        for _, delivery in item.deliveries:
            delivery.ack()
        if rows := item.rows:
            await self.changelog.write(rows)
""",
        FOR_GOOD,
    ),
    Mutation(
        "rows are written before the messages that follow from them",
        TASKS,
        "        if messages := item.messages:\n            async with self._send_lock:\n",
        """\
        if rows := item.rows:
            await self.changelog.write(rows)
        if messages := item.messages:
            async with self._send_lock:
""",
        REFUSED,
        "messages",
    ),
    Mutation(
        "messages are handed to the producer, and nobody waits for the brokers to have them",
        TASKS,
        "            await acknowledged\n",
        "            asyncio.ensure_future(acknowledged)\n",
        REFUSED,
        "messages",
    ),
    Mutation(
        "offsets of what was handed on are committed, whether it is acknowledged or not",
        CONSUMER,
        "        while delivered and delivered[0] in acked:\n",
        "        while delivered:\n",
        DRAGS,
    ),
    Mutation(
        "offsets of what was only fetched are committed",
        CONSUMER,
        "        return None if done is None else done + 1\n",
        "        return None if done is None else self._next_offset.get(tp, done + 1)\n",
        DRAGS,
    ),
    Mutation(
        "an offset is committed as soon as any chunk behind it is acknowledged",
        CONSUMER,
        "        while delivered and delivered[0] in acked:\n",
        "        while delivered and acked & set(delivered):\n",
        "tests/kafka/test_consumer.py::test_nothing_is_committed_past_a_chunk_that_is_under_way",
    ),
    Mutation(
        "a worker goes on after its writes failed",
        TASKS,
        "        elif error := delivering.exception():\n            self._fail(error)\n",
        "        elif delivering.exception():\n            pass\n",
        FOR_GOOD,
    ),
    Mutation(
        "after its writes failed a worker goes on with what waited for its turn",
        TASKS,
        "            if self._failed:  # meanwhile",
        "            if self._failed and self._closed:  # meanwhile",
        "tests/kafka/test_partition_task_endings.py::"
        "test_a_chunk_that_waits_for_a_slot_when_the_one_before_it_is_refused_is_not_worked_on",
    ),
    Mutation(
        "a rebalance forgets what was fetched and does not go back to what was committed",
        CONSUMER,
        "            committed = await self._thread.rewind_to_committed(sources)\n            self._discard()\n",
        "            committed = dict.fromkeys(sources)\n            self._discard()\n",
        "tests/kafka/test_consumer.py::test_what_a_fetch_brings_that_a_rebalance_overtook_is_read_again",
    ),
    Mutation(
        "a fetch may go on while a rebalance goes back to what was committed",
        CONSUMER,
        "        async with self._reading_or_seeking:\n            fetched = await self._fetch(sources)\n",
        "        fetched = await self._fetch(sources)\n",
        "tests/kafka/test_consumer.py::test_what_a_fetch_brings_that_a_rebalance_overtook_is_read_again",
    ),
    Mutation(
        "state is not read back",
        "pipeline/kafka/recovery.py",
        "await reader.read({tp: self._restorer(task) for tp, task in new_tasks.items()}, ends)",
        "pass",
        f"{WORKERS}test_a_worker_is_killed_at_any_moment",
    ),
    Mutation(
        "state is read back up to its last few rows",
        "pipeline/kafka/changelog.py",
        "restore(rows[start : start + ROWS_AT_ONCE])",
        "restore(rows[start : start + ROWS_AT_ONCE][:-3])",
        f"{WORKERS}test_a_worker_is_killed_at_any_moment",
    ),
)

DOUBLED: Final = (
    Mutation(
        "what was applied before a crash is applied again",
        "models/updates/arrivals.py",
        "                if offsets[item] < applied:\n",
        "                if offsets[item] < 0:\n",
        DIES,
        "rows-handed-over and rows-safe",
    ),
    Mutation(
        "a revocation has another id each time",
        "pipeline/decisions/engine.py",
        "subject.session_id, state.epoch, decision.cause)\n",
        "subject.session_id, id(decision))\n",
        f"{WORKERS}test_without_a_fault_all_is_as_in_a_replay",
    ),
    Mutation(
        "what is sent again may be written twice",
        "pipeline/kafka/producer.py",
        '"enable_idempotence": True',
        '"enable_idempotence": False',
        FOR_A_WHILE,
        "though",
    ),
    Mutation(
        "who gives partitions up does not wait for what is on its way",
        TASKS,
        "timeout=max(0.0, deadline - monotonic())",
        "timeout=0.0",
        STOPPED,
    ),
)

UNDONE: Final = (
    Mutation(
        "a lease holds for as long as nobody says that it is over",
        "pipeline/kafka/fencing.py",
        "            if self._clock() < until:\n                return\n",
        "            return\n",
        "tests/kafka/test_fencing.py",
    ),
    Mutation(
        "nobody is asked again before rows leave the producer",
        "pipeline/kafka/fencing.py",
        "            await confirm()\n        except",
        "            pass\n        except",
        "tests/kafka/test_producer_fencing.py",
    ),
    Mutation(
        "a stage is kept over a rebalance though somebody else wrote",
        "pipeline/kafka/recovery.py",
        "task is None or task.changelog.end != changelog.end",
        "task is None",
        "tests/kafka/test_recovery.py",
    ),
    Mutation(
        "rows of the chunk worked on ahead do not wait for those before",
        TASKS,
        "        if before is not None:\n            await asyncio.shield(before)\n",
        "",
        "tests/kafka/test_partition_task_order.py",
    ),
)

POISONED: Final = (
    Mutation(
        "a record that cannot be read takes those beside it with it",
        "schemas/decode.py",
        "                        rejected.append(Rejected(index, refusal(error)))\n",
        """\
                        rejected.append(Rejected(index, refusal(error)))
                        events.clear()
                        places.clear()
""",
        "tests/schemas/test_decode.py",
    ),
    Mutation(
        "a header whose name is no text ends whoever reads its record",
        "pipeline/kafka/fetch_decoding.py",
        "    fetcher.MemoryRecords = RecordBatches\n",
        "",
        ODD,
    ),
    Mutation(
        "a record that cannot be read is dropped in silence",
        "pipeline/processing/outcome.py",
        "        self.send(Message(DEAD_LETTERS, record.key, encode(letter)))\n",
        "",
        POISON,
    ),
    Mutation(
        "suspicions end a session",
        ENGINE,
        "        return score(self.policy.prior + total) < self.policy.levels.high_raise\n",
        "        return False\n",
        "tests/decisions/test_decision_evidence.py::test_suspicions_end_no_session_however_many_they_are",
    ),
    Mutation(
        "who did not answer is only suspected",
        ENGINE,
        "        if STEP_UP_MISSED in facts:\n            return False\n",
        "",
        "tests/decisions/test_decision_rollout.py::test_a_step_up_with_another_cause_too_is_not_withdrawn",
    ),
    Mutation(
        "a change between HTTP/2 and HTTP/3 is another client",
        "models/events/columns.py",
        '    return None if ja4 is None or ja4.startswith("q") else ja4\n',
        "    return ja4\n",
        "tests/detections/test_client_detections.py::test_a_browser_that_changes_between_http_2_and_3_is_no_other_client",
    ),
    Mutation(
        "labels of one company make a model that alarms at every call it does not know",
        "models/detectors/labelled.py",
        "self.companies >= MIN_COMPANIES and np.unique",
        "np.unique",
        "tests/models/test_detector_boosted.py::test_labels_of_the_own_company_teach_nothing_about_calls_that_it_does_not_know",
    ),
)

ATTACKED: Final = (
    Mutation(
        "a worker ends because the producer's queue is full",
        "pipeline/kafka/queueing.py",
        "                except KafkaTimeoutError:\n                    continue\n",
        "                except KafkaTimeoutError:\n                    raise\n",
        "tests/attacks/test_full_queue.py::"
        "test_a_broker_that_takes_a_batch_late_is_waited_for_longer_than_the_producers_patience",
    ),
    Mutation(
        "a device that leaves its attestation unevaluated for a report may then fail it",
        "pipeline/contexts/device/posture_changes.py",
        'changes.attested if fact.name == "attestation" else posture.get(fact.name)',
        "posture.get(fact.name)",
        "tests/attacks/test_posture_evasions.py::"
        "test_what_is_left_unsaid_for_a_while_is_compared_with_what_was_said_before",
    ),
    Mutation(
        "what a device leaves out is forgotten",
        "pipeline/contexts/device/processor.py",
        "    device.posture |= facts\n",
        "    device.posture = facts\n",
        "tests/attacks/test_posture_evasions.py::test_a_fact_that_is_left_out_afterwards_stays_as_bad_as_it_was",
    ),
    Mutation(
        "a session that nobody got into gets commands and spends the budget",
        ENGINE,
        " or not event.is_open:\n",
        ":\n",
        f"{GUESSES}test_guesses_with_the_id_of_a_rooted_phone_are_bound_to_no_device_and_hold_no_revocation_up",
    ),
    Mutation(
        "a session that nobody got into is bound to the device it names",
        "pipeline/sessions/handler.py",
        "        if guess:\n            return\n",
        "",
        f"{GUESSES}test_guesses_with_the_id_of_a_rooted_phone_are_bound_to_no_device_and_hold_no_revocation_up",
    ),
    Mutation(
        "a session that somebody got into after a wrong password counts as a guess for ever",
        "pipeline/sessions/slow_path.py",
        "flags & ~np.uint8(GUESSED)",
        "flags",
        f"{GUESSES}test_a_session_that_somebody_gets_into_after_a_wrong_password_is_bound_and_judged",
    ),
    Mutation(
        "guesses stay among the sessions of their principal",
        "pipeline/contexts/principal/processor.py",
        "        del principal.live[session_id]\n        principal.sessions_seen -= 1\n",
        "        pass\n",
        f"{GUESSES}test_guesses_take_no_place_among_a_principals_sessions",
    ),
    Mutation(
        "guesses push the sessions of their principal off its list",
        "pipeline/contexts/principal/processor.py",
        "        while not guess and exceeds(",
        "        while exceeds(",
        f"{GUESSES}test_a_guess_pushes_no_session_off_a_full_list",
    ),
)

ORDER: Final = tuple(
    Mutation(
        bug,
        "tests/support/write_order.py",
        f"    {flag}: bool = True\n",
        f"    {flag}: bool = False\n",
        "tests/kafka/test_write_order.py::test_whenever_a_worker_falls_or_loses_the_partition_nothing_is_lost_and_nothing_undone",
    )
    for flag, bug in (
        ("commands_first", "the model: rows go before commands"),
        ("rows_before_offsets", "the model: offsets go before rows"),
        ("fenced", "the model: there is no fence"),
        ("skips_applied", "the model: what was applied is applied again"),
        ("restores", "the model: the changelog is not read back"),
    )
)

ASKED: Final = (
    Mutation(
        "a passed step-up teaches nothing",
        "pipeline/sessions/handler.py",
        "        if decision.refuted:\n",
        "        if decision.refuted and False:\n",
        "tests/sessions/test_step_up_thresholds.py::test_a_suspicion_that_a_person_refuted_weighs_less_about_the_next_person_of_the_tenant",
    ),
    Mutation(
        "one person can make a tenant blind",
        "pipeline/decisions/step_up_budget.py",
        "        if principal_id not in threshold.moved:\n",
        "        if principal_id:\n",
        "tests/decisions/test_step_up_budget.py::test_a_person_raises_it_once_a_day",
    ),
    Mutation(
        "facts weigh less where people refuted suspicions",
        ENGINE,
        "part.log_odds for part in contributions if not part.suppressed and part.detection not in FACTS)",
        "part.log_odds for part in contributions if not part.suppressed)",
        "tests/decisions/test_step_up_budget.py::test_facts_weigh_what_they_weigh",
    ),
    Mutation(
        "what people answered is forgotten at a restart",
        "pipeline/sessions/state_store.py",
        "*state.encode(self.dirty), *state.encode_budget()]",
        "*state.encode(self.dirty)]",
        "tests/sessions/test_step_up_thresholds.py::test_a_worker_that_takes_over_knows_what_people_answered",
    ),
    Mutation(
        "a taught model is calibrated by what it has learned from",
        "pipeline/offline/evaluation/foreign/learning.py",
        "        others = np.flatnonzero(~np.isin(few.companies, np.unique(vectors.companies[here])))\n",
        "        others = np.arange(len(few.companies))\n",
        "tests/offline/test_evaluation_left_out.py::test_the_scale_of_a_taught_model_comes_from_models_that_have_not_seen_the_company",
    ),
    Mutation(
        "the hop before a service is another client",
        "models/events/columns.py",
        "or not is_inside(ip)\n",
        "or True\n",
        "tests/models/test_features.py",
    ),
    Mutation(
        "an API key that two clients have is replayed",
        "pipeline/detections/client.py",
        'x["hijacked"] & (x["kind"] != API_KEY)',
        'x["hijacked"] & (x["kind"] != 99)',
        "tests/detections/test_client_detections.py::test_a_token_that_has_two_clients_by_design_is_not_replayed",
    ),
    Mutation(
        "a machine approves itself by signing in",
        "pipeline/decisions/engine.py",
        "(event.action == _SIGN_IN or state.challenge is None)",
        "state.challenge is None",
        "tests/decisions/test_decision_approval.py::test_a_machine_that_signs_in_again_has_not_been_approved",
    ),
    Mutation(
        "a service stops because nobody answered for it",
        "pipeline/decisions/engine.py",
        'if self.policy.actions(event.principal_kind).unanswered == "allow":',
        "if False:",
        "tests/decisions/test_decision_approval.py::test_no_machine_is_ended_because_nobody_answered_for_it",
    ),
    Mutation(
        "a person is asked about the same habit for ever",
        "pipeline/decisions/engine.py",
        "state.times_cleared[name] = times + 1",
        "state.times_cleared[name] = 0",
        "tests/decisions/test_decision_approval.py::"
        "test_what_a_person_refutes_again_and_again_is_asked_about_half_as_often_each_time_and_daily_at_least",
    ),
    Mutation(
        "a session never goes back to a network",
        "models/updates/client.py",
        "return went and returns\n",
        "return False\n",
        "tests/detections/test_client_detections.py::test_a_token_that_goes_back_to_the_network_before_is_not_replayed",
    ),
    Mutation(
        "between the calls of servers a person moves",
        "models/updates/client.py",
        "    moved &= fact.device_changed or not comes_back\n",
        "",
        "tests/detections/test_client_detections.py::test_a_person_for_whom_servers_call_meanwhile_has_not_moved",
    ),
    Mutation(
        "whoever calls after a server is the person",
        "models/updates/client.py",
        "and (own[2] == fields[FAMILY] or (known and same_network))",
        "",
        "tests/detections/test_client_detections.py::test_a_person_for_whom_servers_call_meanwhile_has_not_moved",
    ),
    Mutation(
        "a server that calls for a person has stolen the token",
        "pipeline/detections/client.py",
        "& ~on_behalf ",
        "",
        "tests/detections/test_client_detections.py::test_a_token_that_has_two_clients_by_design_is_not_replayed",
    ),
)

PROMISES: Final = {
    "nothing is lost": LOST,
    "nothing is doubled": DOUBLED,
    "nothing is undone": UNDONE,
    "what cannot be read harms nobody": POISONED,
    "who may write a record, or fail to sign in, stops nothing and ends no one else's session": ATTACKED,
    "honest people are asked seldom, and for a reason": ASKED,
    "no interleaving of two workers breaks the order of writes": ORDER,
    "what is decided is transmitted, once and in order": TRANSMITTED,
}
