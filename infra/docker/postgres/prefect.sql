-- Prefect keeps its own database beside Kedge's, in the same server.
CREATE DATABASE prefect;
