package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type trustCmd struct {
	Init      trustInitCmd    `cmd:"" help:"Begin: make the root, and the keys that sign it."`
	Key       trustKeyCmd     `cmd:"" help:"Make a key, as for an author."`
	AddAuthor addAuthorCmd    `cmd:"" name:"add-author" help:"Let an author sign for components."`
	Dismiss   removeAuthorCmd `cmd:"" name:"remove-author" help:"Have an author sign for nothing any more, or no longer for some components."`
	Rotate    rotateCmd       `cmd:"" help:"Replace keys of a role, or renew what is about to expire."`
	Sign      signCmd         `cmd:"" help:"Sign for packages as their author, or add a signature to metadata."`
	Publish   trustPublishCmd `cmd:"" help:"Send metadata to the file server, from root on."`
	Fetch     trustFetchCmd   `cmd:"" help:"Bring the metadata of a directory up to what the file server has."`
	Status    trustStatusCmd  `cmd:"" help:"Show roles, keys and what has to be done: exit code 1 if there is something."`
	Check     trustCheckCmd   `cmd:"" help:"Judge a package as a device would, by the file server or a folder of metadata."`
}

// A judge goes by a root, and keeps in dir what it has seen.
type judge struct {
	*trust.Client
	files *shelf // nil: a folder
	path  string
	root  []byte
}

func newJudge(path, dir string, f *shelf, fetch trust.Fetch) (*judge, error) {
	b, err := readRoot(path)
	if err != nil {
		return nil, err
	}
	// The clock of whoever signs and checks is one that people look at.
	c, err := trust.Open(trust.Config{Dir: dir, Root: b, Fetch: fetch, Clock: trust.Clock{Synchronised: func() bool { return true }}})
	return &judge{c, f, path, b}, err
}

func readRoot(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read root metadata, which whoever ran tranquil trust init has: %w", err)
	}
	return b, nil
}

// explain says in whose hands it is that something is not signed.
func (j *judge) explain(ctx context.Context, author string, err error) error {
	if errors.Is(err, trust.ErrUnlisted) && author == "" {
		return fmt.Errorf("%w: whoever has the targets key lets somebody sign for it with tranquil trust add-author", err)
	}
	if !errors.Is(err, trust.ErrUnsigned) {
		return err
	}
	if j.files != nil && !j.follows(ctx) {
		return fmt.Errorf("the root of the file server %s does not follow from %s: it belongs to others, or %[2]s does (%[3]w)", j.files.base.Host, j.path, err)
	}
	if author != "" {
		return fmt.Errorf("%[1]s's keys were replaced: %[1]s has to sign anew (%[2]w)", author, err)
	}
	return err
}

// follows tells whether the root is one of those that the file server has.
func (j *judge) follows(ctx context.Context) bool {
	version, err := trust.RootVersion(j.root)
	if err != nil {
		return false
	}
	b, err := j.files.fetch(ctx, trust.File(trust.Root, version), 0)
	return err == nil && bytes.Equal(b, j.root)
}

type trustStatusCmd struct {
	Dir string `arg:"" optional:"" help:"Directory of tranquil trust init; default: what the file server has."`
}

func (c *trustStatusCmd) Run(s *session) error {
	standings, waiting, err := c.standings(s)
	if err != nil {
		return err
	}
	if s.JSON {
		err = s.printJSON(standings)
	} else {
		err = showStandings(s.out, standings, c.Dir)
	}
	problems := []error{err}
	for _, st := range standings {
		if st.Problem != "" {
			problems = append(problems, c.problem(st))
		}
	}
	for _, line := range waiting {
		problems = append(problems, errors.New(line))
	}
	return errors.Join(problems...)
}

// problem adds the command that mends it, if it is not named.
func (c *trustStatusCmd) problem(st trust.Standing) error {
	dir := cmp.Or(c.Dir, "DIR")
	mend := ""
	switch {
	case strings.Contains(st.Problem, "tranquil trust"):
	case strings.Contains(st.Problem, "publish it again") && len(st.Components) == 0:
		mend = ": tranquil trust publish " + dir
	case st.Role == trust.Root || st.Role == trust.Targets:
		mend = fmt.Sprintf(": tranquil trust rotate %s %s", dir, st.Role)
	case st.Role == trust.Snapshot || st.Role == trust.Timestamp:
		mend = "; its log says why"
	case len(st.Components) > 0:
		mend = fmt.Sprintf(": tranquil trust sign --component %s --key FILE", strings.Join(st.Components, " or "))
	}
	return fmt.Errorf("%s: %s%s", st.Role, st.Problem, mend)
}

func (c *trustStatusCmd) standings(s *session) (all []trust.Standing, waiting []string, err error) {
	if c.Dir != "" {
		r, err := openDir(c.Dir)
		if err != nil {
			return nil, nil, err
		}
		waiting, err = waitingIn(c.Dir, r)
		return r.Standings(time.Now()), waiting, err
	}
	f, err := s.reader()
	if err != nil {
		return nil, nil, fmt.Errorf("%w, or give a directory", err)
	}
	all, err = f.standings(s.ctx)
	return all, nil, err
}

// showStandings of an operator's directory leaves out what only the file server
// knows.
func showStandings(out io.Writer, standings []trust.Standing, dir string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROLE\tVERSION\tEXPIRES\tSIGNED BY\tFOR\t")
	for _, st := range standings {
		version, expires := fmt.Sprint(st.Version), "not published"
		switch {
		case st.Version > 0:
			expires = st.Expires.Local().Format(time.DateTime)
		case dir != "" && len(st.Components) > 0:
			version, expires = "-", "-"
		}
		by := shortIDs(st.Keys)
		if len(st.Keys) > 1 {
			by = fmt.Sprintf("%d of %s", st.Threshold, by)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", st.Role, version, expires, by, strings.Join(st.Components, " "))
		for _, path := range st.Packages {
			fmt.Fprintf(w, "\t\t\t\t  %s\t\n", path)
		}
	}
	if err := w.Flush(); err != nil || dir == "" {
		return err
	}
	_, err := fmt.Fprintln(out, "What authors have signed the file server has: tranquil trust status, with --files.")
	return err
}

type trustCheckCmd struct {
	Package string `arg:"" help:"Package file or layout directory."`
	Folder  string `arg:"" optional:"" help:"Folder of metadata, as on a USB stick; default: the file server."`
	Root    string `env:"TRANQUIL_ROOT" default:"root.json" help:"Root metadata to begin with."`
}

func (c *trustCheckCmd) Run(s *session) error {
	packages, err := describePackages([]string{c.Package})
	if err != nil {
		return err
	}
	j, done, err := c.judge(s)
	if err != nil {
		return err
	}
	defer done()
	v, err := j.Verify(s.ctx, packages[0])
	if err != nil {
		return j.explain(s.ctx, v.Author, err)
	}
	fmt.Fprintf(s.out, "%s %s is signed for by %s\n%s\n", packages[0].Component, packages[0].Version, v.Author, packages[0].Digest)
	return nil
}

// judge keeps nothing.
func (c *trustCheckCmd) judge(s *session) (*judge, func(), error) {
	var f *shelf
	fetch := trust.Folder(c.Folder)
	if c.Folder == "" {
		var err error
		if f, err = s.reader(); err != nil {
			return nil, nil, fmt.Errorf("%w, or give a folder", err)
		}
		fetch = f.fetch
	}
	dir, err := os.MkdirTemp("", "tranquil-trust-")
	if err != nil {
		return nil, nil, err
	}
	j, err := newJudge(c.Root, dir, f, fetch)
	if err != nil {
		os.RemoveAll(dir)
	}
	return j, func() { os.RemoveAll(dir) }, err
}

// metadataOf is where an operator's directory has it.
func metadataOf(dir string) string { return filepath.Join(dir, "metadata") }

// openDir opens the metadata of an operator's directory.
func openDir(dir string) (*trust.Repository, error) {
	if _, err := os.Stat(metadataOf(dir)); err != nil {
		return nil, fmt.Errorf("%[1]s has no metadata: if the file server has, tranquil trust fetch %[1]s brings it; if there is no root at all yet, tranquil trust init makes one: %[2]w", dir, err)
	}
	return openMetadata(dir)
}

func openMetadata(dir string) (*trust.Repository, error) {
	return trust.OpenRepository(metadataOf(dir), slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
