package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestShells has each shell load what is for it, and complete.
func TestShells(t *testing.T) {
	const asBash = `
		COMP_WORDS=(tranquil device li); COMP_CWORD=$N; _tranquil; echo "${COMPREPLY[@]}"
		COMP_WORDS=(tranquil device list --js); COMP_CWORD=$((N+1)); _tranquil; echo "${COMPREPLY[@]}"`
	for shell, script := range map[string]string{
		"bash": `source <(tranquil completion bash); N=2;` + asBash,
		"zsh":  `autoload -U compinit && compinit -D -u; source <(tranquil completion zsh); N=2; emulate sh; setopt kshglob noshglob braceexpand;` + asBash,
		"fish": `tranquil completion fish | source
			complete -C "tranquil device li" | cut -f 1
			complete -C "tranquil device list --js" | cut -f 1`,
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("######## there is no %s: NOT TESTED that it completes ########", shell)
			}
			cmd := exec.Command(program, "-c", script)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"PATH=" + tools + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir}
			out, err := cmd.CombinedOutput()
			first, second, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			has := func(line, word string) bool { // zsh picks those that begin so by itself
				words := strings.Fields(line)
				return slices.Contains(words, word) && (shell == "zsh" || len(words) == 1)
			}
			if err != nil || !has(first, "list") || !has(second, "--json") || strings.Contains(second, "\n") {
				t.Errorf("%v: %q", err, out)
			}
		})
	}
}
