-- The two logins and the database, as any server for Batchmill needs them: the owner migrates and so must be
-- able to make a role; the application's login, which the owner made, has what the migrations grant it and no more.
\set owner_password `cat /run/owner-credentials/owner-password`
\set login_password `cat /run/credentials/login-password`

CREATE ROLE batchmill_owner LOGIN CREATEROLE PASSWORD :'owner_password';
SET ROLE batchmill_owner;
CREATE ROLE batchmill_login LOGIN PASSWORD :'login_password';
RESET ROLE;
CREATE DATABASE batchmill OWNER batchmill_owner;
