package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

// migrations joins the SQL that leads from one schema to another. Files are
// named N_what.up.sql for the way from schema N-1 to N, N_what.down.sql back.
func migrations(dir string, from, to int) (string, error) {
	suffix, first, last, step := ".up.sql", from+1, to, 1
	if from > to {
		suffix, first, last, step = ".down.sql", from, to+1, -1
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("cannot read migrations: %w", err)
	}
	var sql strings.Builder
	for n := first; n != last+step; n += step {
		name := ""
		for _, entry := range entries {
			number, _, _ := strings.Cut(entry.Name(), "_")
			if got, err := strconv.Atoi(number); err != nil || got != n || !strings.HasSuffix(entry.Name(), suffix) {
				continue
			}
			if name != "" {
				return "", fmt.Errorf("%s and %s in %s are both for schema %d", name, entry.Name(), dir, n)
			}
			name = entry.Name()
		}
		if name == "" {
			return "", fmt.Errorf("there is no %d_….%s in %s", n, strings.TrimPrefix(suffix, "."), dir)
		}
		text, err := readMigration(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&sql, "-- %s\n%s\n", name, text)
	}
	return sql.String(), nil
}

// readMigration reads a file of SQL, and refuses what is wrong in it whatever
// the database.
func readMigration(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read migrations: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return "", nil // a step that changes nothing of the database
	}
	if err := native.Check("sqlite", map[string]string{"sql": string(text)}); err != nil {
		return "", fmt.Errorf("%s, %w", path, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// tryMigrations runs the SQL of a recipe on the states of its examples, in the
// sandbox: only a database shows whether its tables and columns are there.
func tryMigrations(s *session, recipe *pack.Recipe, dir string) error {
	sql := func(t pack.RecipeTransform) bool { return t.Transform == "sqlite" }
	_, err := os.Stat(filepath.Join(dir, "testdata"))
	if errors.Is(err, fs.ErrNotExist) || !slices.ContainsFunc(recipe.Transforms, sql) {
		return nil
	}
	_, edges, cases, err := readProject(dir, "")
	if err != nil {
		fmt.Fprintln(s.err, "the SQL was not tried on examples:", err)
		return nil
	}
	h, err := (&sandbox{}).host(s)
	if err != nil {
		return err
	}
	for i, t := range recipe.Transforms {
		for _, c := range cases {
			state := c.States[t.From]
			if !sql(t) || state == nil || c.Refused != "" {
				continue
			}
			if err := tryOn(s, h, edges[i].Step, state); err != nil {
				return fmt.Errorf("on the example %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

func tryOn(s *session, h *host.Host, step host.Step, state transformtest.State) error {
	work, err := os.MkdirTemp("", "tranquil-build-")
	if err != nil {
		return fmt.Errorf("cannot make room for an example: %w", err)
	}
	defer os.RemoveAll(work)
	if err := state.Write(filepath.Join(work, "old")); err != nil {
		return err
	}
	_, err = h.Run(s.ctx, []host.Step{step}, filepath.Join(work, "old"), filepath.Join(work, "new"), nil)
	return err
}
