//! Which of the workspace's crates may depend on which: dependencies point down only.

use super::Finding;
use serde_json::Value;

/// Each package with the workspace packages it may depend on.
const ALLOWED: [(&str, &[&str]); 22] = [
    ("droste-arm64", &[]),
    ("droste-platform", &[]),
    ("droste-acpi", &["droste-platform"]),
    ("droste-devtree", &["droste-platform"]),
    ("droste-image", &[]),
    ("droste-life", &[]),
    ("droste-locks", &[]),
    ("droste-resources", &["droste-life"]),
    ("droste-smmu", &["droste-arm64"]),
    ("droste-stage2", &["droste-arm64"]),
    ("droste-vdev", &["droste-arm64"]),
    ("droste-nested", &["droste-arm64", "droste-stage2"]),
    ("droste-mmu-model", &["droste-arm64"]),
    ("droste-judge", &["droste-arm64", "droste-mmu-model"]),
    ("droste-judge-plugin", &["droste-judge"]),
    (
        "droste-trials",
        &[
            "droste-arm64",
            "droste-life",
            "droste-mmu-model",
            "droste-nested",
            "droste-smmu",
            "droste-stage2",
            "droste-vdev",
        ],
    ),
    (
        "droste-hv",
        &[
            "droste-arm64",
            "droste-devtree",
            "droste-image",
            "droste-life",
            "droste-locks",
            "droste-nested",
            "droste-platform",
            "droste-resources",
            "droste-stage2",
            "droste-vdev",
        ],
    ),
    ("droste", &["droste-image", "droste-judge"]),
    ("droste-guests", &[]),
    ("droste-vmm", &[]),
    (
        "xtask",
        &[
            "droste",
            "droste-devtree",
            "droste-image",
            "droste-platform",
            "droste-trials",
        ],
    ),
    ("droste-stage2-bench", &["droste-arm64", "droste-stage2"]),
];

/// What judges the others in their tests, and is part of none of them.
const TESTS_ONLY: &str = "droste-mmu-model";
/// What the tests of one may look at besides: the guests try what the hypervisor's tables promise, and ACPI's tables say of a
/// machine what its device tree says.
const LOOKED_AT: [(&str, &str); 3] = [
    ("droste-guests", "droste-nested"),
    ("droste-guests", "droste-vdev"),
    ("droste-acpi", "droste-devtree"),
];

/// Judges the answer of `cargo metadata --no-deps`.
pub(crate) fn judge(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    packages
        .iter()
        .flat_map(|package| judge_package(package, &names))
        .collect()
}

fn judge_package(package: &Value, workspace: &[&str]) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![finding(
            name,
            "has no row in xtask's table of dependencies".to_owned(),
        )];
    };
    let dependencies = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    dependencies
        .iter()
        .filter_map(|d| {
            d["name"]
                .as_str()
                .map(|on| (on, d["kind"].as_str() == Some("dev")))
        })
        .filter(|(on, _)| workspace.contains(on))
        .filter(|(on, is_for_tests)| {
            let is_looked_at = LOOKED_AT.contains(&(name, *on));
            let is_allowed_in_tests = *on == TESTS_ONLY || *on == name || is_looked_at;
            !(allowed.contains(on) || *is_for_tests && is_allowed_in_tests)
        })
        .map(|(on, _)| {
            finding(
                name,
                format!("may not depend on {on}: dependencies point down only"),
            )
        })
        .collect()
}

fn finding(package: &str, message: String) -> Finding {
    Finding::whole(package, "dependencies", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(on, kind)| json!({"name": on, "kind": kind}))
            .collect();
        json!({"name": name, "dependencies": dependencies})
    }

    fn messages(packages: &[Value]) -> Vec<String> {
        judge(&json!({"packages": packages}))
            .into_iter()
            .map(|f| format!("{} {}", f.path, f.message))
            .collect()
    }

    #[test]
    fn edges_that_point_down_are_passed() {
        let packages = [
            package("droste-arm64", &[]),
            package(
                "droste-stage2",
                &[
                    ("droste-arm64", None),
                    ("spin", None),
                    ("droste-mmu-model", Some("dev")),
                ],
            ),
            package("droste-mmu-model", &[("droste-arm64", None)]),
        ];
        assert_eq!(messages(&packages), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_points_up_is_refused() {
        let packages = [
            package("droste-arm64", &[("droste-stage2", None)]),
            package("droste-stage2", &[]),
        ];
        assert_eq!(
            messages(&packages),
            ["droste-arm64 may not depend on droste-stage2: dependencies point down only"]
        );
    }

    #[test]
    fn a_crate_may_test_itself_with_other_features() {
        let image = |kind| package("droste-image", &[("droste-image", kind)]);
        assert_eq!(messages(&[image(Some("dev"))]), Vec::<String>::new());
        assert_eq!(messages(&[image(None)]).len(), 1);
    }

    #[test]
    fn the_guests_look_at_the_hypervisors_tables_in_tests_alone() {
        let guests = |kind| package("droste-guests", &[("droste-vdev", kind)]);
        let vdev = package("droste-vdev", &[]);
        assert_eq!(
            messages(&[guests(Some("dev")), vdev.clone()]),
            Vec::<String>::new()
        );
        assert_eq!(messages(&[guests(None), vdev]).len(), 1);
    }

    #[test]
    fn production_code_that_needs_the_model_is_refused() {
        let packages = [
            package("droste-stage2", &[("droste-mmu-model", None)]),
            package("droste-mmu-model", &[]),
        ];
        assert_eq!(messages(&packages).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        assert_eq!(
            messages(&[package("droste-new", &[])]),
            ["droste-new has no row in xtask's table of dependencies"]
        );
    }
}
