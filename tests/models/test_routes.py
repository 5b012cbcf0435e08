"""The privilege chain in the names that ordinary interfaces have, and what only looks like it."""

import pytest

from models.events.operations import PRIVILEGE, Stage, chain_stage, is_guarded, stage_of, stages_of
from models.events.routes import step_of

CHAIN = {
    "POST /keys": Stage.CREATE,
    "POST /api-keys": Stage.CREATE,
    "POST /api/v2/api_keys/": Stage.CREATE,
    "POST /v1/projects/{project}/serviceAccounts": Stage.CREATE,
    "POST /v1/projects/{project}/serviceAccounts/{account}/keys": Stage.CREATE,
    "POST /users": Stage.CREATE,
    "POST /scim/v2/Users": Stage.CREATE,
    "POST /admin/realms/{realm}/users": Stage.CREATE,
    "POST /users/{id}/credentials": Stage.CREATE,
    "POST /users/:id/ssh-keys": Stage.CREATE,
    "POST /me/tokens": Stage.CREATE,
    "POST /api-keys?name=x": Stage.CREATE,
    "PUT /users/{id}/groups": Stage.GRANT,
    "PUT /users/{id}/roles/{role}": Stage.GRANT,
    "PATCH /roles/{id}": Stage.GRANT,
    "POST /roles/{id}/members": Stage.GRANT,
    "POST /roles/{id}/grants": Stage.GRANT,
    "PUT /api/v1/groups/{group}/users/{user}": Stage.GRANT,
    "POST /iam/role-assignments": Stage.GRANT,
    "POST /users/{id}/policies": Stage.GRANT,
    "PUT /audit/settings": Stage.BLIND,
    "PUT /audit-settings": Stage.BLIND,
    "PATCH /api/v1/organizations/{id}/audit/config": Stage.BLIND,
    "DELETE /audit/sinks/{id}": Stage.BLIND,
    "DELETE /audit/trails/{id}": Stage.BLIND,
    "DELETE /log-sinks/{id}": Stage.BLIND,
    "DELETE /audit-logs": Stage.BLIND,
    "PUT /logging/destinations/{id}": Stage.BLIND,
}
QUIET = (
    "GET /api-keys",
    "GET /users/{id}/roles",
    "GET /audit/settings",
    "DELETE /api-keys/{id}",
    "DELETE /users/{id}/roles/{role}",
    "PUT /api-keys/{id}",
    "POST /orders",
    "POST /orders/{id}/tokens",
    "POST /auth/tokens",
    "POST /oauth/token",
    "POST /tokens/refresh",
    "POST /devices/{id}/tokens",
    "POST /cache/keys",
    "POST /rooms/{id}/users",
    "POST /users/{id}",
    "POST /users/search",
    "POST /users/{id}/messages",
    "PUT /users/{id}",
    "PUT /users/{id}/avatar",
    "PATCH /users/{id}/settings",
    "PUT /me/groups",
    "POST /groups",
    "POST /roles",
    "POST /policies",
    "PUT /policies/{id}",
    "POST /grants",
    "POST /teams/{id}/members",
    "POST /chats/{id}/members",
    "POST /games/{id}/roles",
    "POST /audit/search",
    "POST /audit-logs",
    "PUT /audits/{id}",
    "PUT /audit-logs/{id}/comments",
    "DELETE /trails/{id}",
    "DELETE /sinks/{id}",
    "DELETE /logs/{id}",
    "PUT /settings",
    "POST /",
    "POST /{id}",
    "post /api-keys",
    "/api-keys",
    "api-keys",
    "s3:PutObject",
    "",
)


@pytest.mark.parametrize(("operation", "stage"), CHAIN.items(), ids=CHAIN)
def test_a_route_that_makes_a_credential_widens_a_right_or_blinds_is_of_the_chain(operation: str, stage: Stage) -> None:
    assert (chain_stage(operation), stage_of(operation, None)) == (stage, stage)
    assert stages_of(operation) == {stage}
    assert is_guarded(operation, None)


@pytest.mark.parametrize("operation", QUIET)
def test_what_only_sounds_like_it_is_any_other_call(operation: str) -> None:
    assert (chain_stage(operation), stages_of(operation)) == (Stage.NONE, set())
    assert not is_guarded(operation, "internal")


def test_a_name_in_the_table_goes_before_its_words() -> None:
    assert chain_stage("iam:CreateUser") is Stage.CREATE
    assert [name for name in PRIVILEGE if step_of(name)] == []


def test_what_lets_others_in_goes_before_the_chain() -> None:
    assert stage_of("POST /files/{id}/permissions", "restricted") is Stage.EXPOSE
    assert stage_of("POST /files/{id}/permissions", "internal") is Stage.NONE
