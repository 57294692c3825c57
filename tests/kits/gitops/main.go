// Command gitops says what GitOps tools make of Kubernetes objects: kstatus and Flux by their own code, Argo CD by the
// Lua interpreter that it uses, with the libraries that it opens, and its notifications by their own engine.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

const usage = `gitops kstatus            [object, ...] on stdin -> ["Current", ...]
gitops flux EXPRESSIONS   [object, ...] on stdin, healthCheckExprs as a JSON object in a file -> ["Current", ...]
gitops lua SCRIPT         [object, ...] on stdin -> what the script returns for each
gitops notify FILE TRIGGER [Application, ...] on stdin, argocd-notifications-cm in a file -> what is sent about each`

func main() {
	judge, err := judgeOf(os.Args[1:])
	if err != nil {
		fail(err)
	}
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		fail(fmt.Errorf("stdin: %w", err))
	}
	found := make([]any, 0, len(objects))
	for _, object := range objects {
		result, err := judge(object)
		if err != nil {
			fail(err)
		}
		found = append(found, result)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type judge func(object map[string]any) (any, error)

func judgeOf(arguments []string) (judge, error) {
	switch {
	case len(arguments) == 1 && arguments[0] == "kstatus":
		return kstatus, nil
	case len(arguments) == 2 && arguments[0] == "flux":
		return flux(arguments[1])
	case len(arguments) == 2 && arguments[0] == "lua":
		return script(arguments[1])
	case len(arguments) == 3 && arguments[0] == "notify":
		return notify(arguments[1], arguments[2])
	}
	return nil, fmt.Errorf("%s", usage)
}

// integers turns JSON's numbers into what the API machinery expects: int64 where there is no fraction.
func integers(value any) any {
	switch found := value.(type) {
	case float64:
		if whole := int64(found); float64(whole) == found {
			return whole
		}
	case map[string]any:
		for key, item := range found {
			found[key] = integers(item)
		}
	case []any:
		for index, item := range found {
			found[index] = integers(item)
		}
	}
	return value
}

func kstatus(object map[string]any) (any, error) {
	result, err := status.Compute(&unstructured.Unstructured{Object: integers(object).(map[string]any)})
	if err != nil {
		return nil, err
	}
	return result.Status.String(), nil
}

func flux(path string) (judge, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var expressions kustomize.HealthCheckExpressions
	if err := json.Unmarshal(text, &expressions); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	evaluator, err := cel.NewStatusEvaluator(&expressions)
	if err != nil {
		return nil, err
	}
	return func(object map[string]any) (any, error) {
		u := &unstructured.Unstructured{Object: integers(object).(map[string]any)}
		result, err := evaluator.Evaluate(context.Background(), u)
		if err != nil { // as Flux' status reader has it: it looks again until its time-out
			return status.UnknownStatus.String(), nil
		}
		return result.Status.String(), nil
	}, nil
}

func script(path string) (judge, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return func(object map[string]any) (any, error) {
		state := lua.NewState(lua.Options{SkipOpenLibs: true})
		defer state.Close()
		open(state)
		limit, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		state.SetContext(limit)
		state.SetGlobal("obj", luajson.DecodeValue(state, object))
		if err := state.DoString(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		answer, err := luajson.Encode(state.Get(-1))
		return json.RawMessage(answer), err
	}, nil
}

// open loads what Argo CD loads for scripts of a ConfigMap: base, package, table, and of os time and date alone.
func open(state *lua.LState) {
	for name, opener := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
		lua.OsLibName:   lua.OpenOs,
	} {
		state.Push(state.NewFunction(opener))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	whole := state.GetGlobal(lua.OsLibName).(*lua.LTable)
	safe := state.NewTable()
	for _, name := range []string{"time", "date"} {
		safe.RawSetString(name, whole.RawGetString(name))
	}
	state.SetGlobal(lua.OsLibName, safe)
}
