// Package deploy tests what deploy/, the Dockerfile, docker-compose.yml and .goreleaser.yaml say: that the tools which
// will read them can, and that what they set exists in the service. It is a module of its own, so that those tools are no
// dependency of the service.
package deploy
