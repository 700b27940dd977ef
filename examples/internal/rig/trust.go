package rig

import (
	"context"
	"fmt"
	"path/filepath"
)

// StartTrusting is [Start] of a device that installs only what an author has
// signed for, and of an operator and an author: what they push is signed.
func StartTrusting(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	return beginTrusting(ctx, &System{}, built, dir, agent)
}

// StartGuarded is [StartTrusting] with DTLS, as [StartSecure] has it.
func StartGuarded(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	s := &System{}
	s.endpoints.Bridge.LwM2M, s.endpoints.Files.CoAP = secureScheme+"127.0.0.1:0", secureScheme+"127.0.0.1:0"
	return beginTrusting(ctx, s, built, dir, agent)
}

func beginTrusting(ctx context.Context, s *System, built Built, dir string, agent []Edit) (*System, error) {
	s.trusting = true
	agent = append(agent, func(config string) string {
		return config + fmt.Sprintf("\n[trust]\nroot = %q\n", s.root())
	})
	return begin(ctx, s, built, dir, agent)
}

// Operator is the directory of those who sign for the root.
func (s *System) Operator() string { return filepath.Dir(s.root()) }

// root is the operator's root metadata, which the device begins with.
func (s *System) root() string { return filepath.Join(s.Dir, "trust", "root.json") }

// author is the author's key.
func (s *System) author() string { return filepath.Join(s.Dir, "author.key") }

// found does what operator and author do once. A key that lasts as long as the
// system needs no passphrase.
func (s *System) found(ctx context.Context) error {
	if !s.trusting {
		return nil
	}
	operator, public := filepath.Dir(s.root()), filepath.Join(s.Dir, "author.pub")
	for _, args := range [][]string{
		{"trust", "init", operator, "--no-passphrase"},
		{"trust", "key", s.author(), "--no-passphrase"},
		{"trust", "add-author", operator, "author", public, "--component", SensorAdapter},
	} {
		if _, err := s.CLI(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// Sign signs for a package as its author.
func (s *System) Sign(ctx context.Context, file string) error {
	_, err := s.CLI(ctx, "trust", "sign", file, "--key", s.author(), "--root", s.root(), "--state", filepath.Join(s.Dir, "signed"))
	return err
}
