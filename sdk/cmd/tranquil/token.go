package main

import (
	"errors"
	"fmt"
	"time"
)

type tokenCmd struct {
	For time.Duration `default:"1h" help:"How long it is good for."`
}

// Run prints the value of an Authorization header.
func (c *tokenCmd) Run(s *session) error {
	if c.For <= 0 {
		return errors.New("a token must be good for some time: --for 1h")
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	if hub.Token != "" {
		fmt.Fprintln(s.out, "Bearer", hub.Token)
		return nil
	}
	token, err := hub.ConnectionString.ServiceToken(time.Now().Add(c.For))
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, token)
	return nil
}
