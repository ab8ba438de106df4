"""The credential vault as a process: opens the sealed keys, serves, and keeps revocations in force."""

from contextlib import AsyncExitStack
from typing import cast

import anyio
from anyio import to_thread

from vaultlayer import subjects
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.protocol import Handler, ReplyPrefix
from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import BrokerDownError, BrokerError
from vaultlayer_actors.context import Actor, ActorContext
from vaultlayer_actors.credential_vault.accounts import Accounts
from vaultlayer_actors.credential_vault.enrolment import Enrolments
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.lending import Lending
from vaultlayer_actors.credential_vault.master import MasterKeys, credentials
from vaultlayer_actors.credential_vault.minter import make_minter, master_credential
from vaultlayer_actors.credential_vault.provider_keys import ProviderKeys
from vaultlayer_actors.credential_vault.wheels import Wheels

SETTLE_S = 30.0
"""How often the server's claims are compared with the register, whoever changed them."""


class CredentialVault:
    """One of any number of vaults over the same sealed keys; it keeps nothing in memory that counts."""

    kind = "credential_vault"

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._logger = context.logger

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            SealError: the sealed keys do not open.
            ConfigError: the bucket's parent key is missing.
            BrokerDownError: there is no bus to serve.
        """
        context = self._context
        keys = await to_thread.run_sync(KeyStore(context.home.keys).open)
        async with open_bus(
            self._server_urls(),
            credentials(keys)["sys"],
            inbox=f"{subjects.SYSTEM_INBOX}.{context.actor}",
            name=context.actor,
        ) as system:
            # The runtime gives no other bus; only this one can reach the server's own storage.
            accounts = Accounts(cast("NatsBus", context.bus), system, keys)
            await accounts.ensure()
            async with AsyncExitStack() as services:
                for subject, handler, allowed in self._services(keys, accounts):
                    await services.enter_async_context(
                        context.bus.serve(subject, handler, queue=self.kind, allowed=allowed)
                    )
                context.served()
                await self._keep_settled(accounts)

    def _services(
        self, keys: MasterKeys, accounts: Accounts
    ) -> list[tuple[str, Handler, ReplyPrefix]]:
        context = self._context
        endpoints = read_endpoints(context.home.run)
        minter = make_minter(context.settings.store, endpoints, keys)
        lending = Lending(keys, minter, context.ledger, root=context.settings.store.root)
        enrolments = Enrolments(
            keys,
            context.ledger,
            accounts,
            bus_urls=context.settings.bus.public_urls or self._server_urls(),
            wheels=Wheels(
                master_credential(context.settings.store, endpoints, keys),
                root=context.settings.store.root,
                mono_s=context.mono_s,
            ),
            now_s=context.now_s,
        )
        providers = ProviderKeys(KeyStore(context.home.keys), context.bus)
        return [
            (subjects.PROVIDER_KEY, providers.put, _user),
            (subjects.PROVIDER_KEYS, providers.fields, _user),
            (subjects.VAULT_KEY, lending.vault_key, _user),
            (subjects.UPLOAD_CREDENTIAL, lending.upload_credential, _user),
            (subjects.WHEELS_CREDENTIAL, lending.wheels_credential, _user),
            (subjects.read_credentials(), lending.read_credential, _user),
            (subjects.vault("broker_store"), lending.broker_store, _actor),
            (subjects.vault("provider_secrets"), providers.secrets, _actor),
            (subjects.vault("enrol_credential"), enrolments.enrol_credential, _actor),
            (subjects.vault("revoke"), enrolments.revoke, _actor),
            (subjects.agents("enrol"), enrolments.enrol, _enrolling),
            (subjects.agents("renew"), enrolments.renew, _agent),
            (subjects.agents("secrets"), lending.secrets, _agent),
            (subjects.agents("store_credential"), lending.store_credential, _agent),
        ]

    def _server_urls(self) -> list[str]:
        if self._context.settings.bus.urls:
            return self._context.settings.bus.urls
        endpoints = read_endpoints(self._context.home.run)
        if endpoints is None:
            raise BrokerDownError("no bus is known here", mend="vaultlayer up, or set [bus] urls")
        return [endpoints.bus_url]

    async def _keep_settled(self, accounts: Accounts) -> None:
        while True:
            try:
                if await accounts.settle(self._context.now_s()):
                    self._logger.info("account_settled")
            except BrokerError as error:
                # A request to revoke fails by itself meanwhile, and is made again by who asked.
                self._logger.warning("account_unsettled", code=error.code, why=str(error))
            await anyio.sleep(SETTLE_S)


def build(context: ActorContext) -> Actor:
    """Make a vault."""
    return CredentialVault(context)


def _user(_subject: str) -> str:
    return subjects.USERS_INBOX


def _actor(_subject: str) -> str:
    return subjects.ACTORS_INBOX


def _agent(subject: str) -> str:
    job, attempt, _ = subjects.parse_agent(subject)
    return subjects.agent_inbox(job, attempt)


def _enrolling(subject: str) -> str:
    job, attempt, _ = subjects.parse_agent(subject)
    return subjects.enrol_inbox(job, attempt)
