{
  enable = true;
  swarm = "manager";
  stacks = [
    { name = "cloud"; compose = ../../../../stacks/cloud.yml; env = "/opt/cloud/.env"; }
    { name = "inline"; compose = "services:\n  db:\n    image: postgres\n    environment:\n      POSTGRES_PASSWORD: s3cr3t-in-compose\n"; }
  ];
}
